// Which charts a run has: from the tags of its series, and the kind of stage they come from, to titles, groups, an order.

const CHARTS = [
  { id: "reward", kind: "ppo", group: "policy", title: "Reward", tags: ["reward/total"], wide: true, tall: true },
  { id: "kl", kind: "ppo", group: "policy", title: "KL to the reference", unit: "nats", tags: ["kl/mean"], target: "kl",
    tall: true },
  { id: "entropy", kind: "ppo", group: "policy", title: "Entropy", unit: "nats", tags: ["policy/entropy"], order: 101 },
  { id: "length", kind: "ppo", group: "policy", title: "Response length", unit: "tokens", tags: ["response/length"],
    order: 102 },
  { id: "value", kind: "ppo", group: "policy", title: "Value loss", tags: ["value/loss"], order: 103 },
  { id: "sampling-kl", kind: "ppo", group: "policy", title: "KL from sampling to reading", unit: "nats per token",
    tags: ["policy/sampling_kl"], order: 104 },
  { id: "sft-loss", kind: "sft", group: "models", title: "Fine-tuning: loss", tags: ["sft/loss"] },
  { id: "pairs", kind: "sample", group: "models", title: "Sampling: distinct pairs", tags: ["sample/pairs"] },
  { id: "flips", kind: "label", group: "models", title: "Labels: order flips", tags: ["label/flip_rate"] },
  { id: "confidence", kind: "label", group: "models", title: "Labels: confidence", tags: ["label/confidence"] },
  { id: "pm-loss", kind: "preference_model", group: "models", title: "Preference models: loss", tags: ["pm/loss"] },
  { id: "pm-accuracy", kind: "preference_model", group: "models", title: "Preference models: accuracy",
    tags: ["pm/accuracy"] },
  { id: "pm-held-out", kind: "preference_model", group: "models", title: "Preference models: held-out accuracy",
    tags: ["pm/held_out_accuracy"] },
];
const PAIR = /^conflict\/(.+)~(.+)$/;
const ACTIVE = /^active\/(.+)$/;
const GAUGE = /^gauge\/(.+)$/;
const PART = /^principle\/(.+)\/(raw|standardised|weighted)$/;

export const groups = [
  { key: "models", title: "Labels and preference models" },
  { key: "policy", title: "Policy" },
  { key: "gauges", title: "Gauges: measured in their own units, never rewarded" },
  { key: "active", title: "What drives learning" },
  { key: "conflict", title: "Conflict between the principles' gradients (cosine)" },
  { key: "more", title: "More series" },
];

export const principleOf = (tag) => (PART.exec(tag) ?? ACTIVE.exec(tag) ?? GAUGE.exec(tag))?.[1];

// The charts that a series belongs to; `part` says which kind of principle rewards is shown.
export const chartsOf = (tag, kind, principles, part) => {
  const match = PART.exec(tag);
  if (match) return partsOf(match[1], match[2], principles, part);
  if (ACTIVE.test(tag)) {
    return [{ id: "active", kind, group: "active", title: "Share of responses whose reward each principle decides",
      tags: principles.map((name) => `active/${name}`), stacked: true, wide: true, order: 0 }];
  }
  const gauge = GAUGE.exec(tag);
  if (gauge) {
    return [{ id: `gauge-${gauge[1]}`, kind, group: "gauges", title: gauge[1], principle: gauge[1], tags: [tag],
      order: 0 }];
  }
  const pair = PAIR.exec(tag);
  if (pair) {
    return [{ id: `conflict-${pair[1]}-${pair[2]}`, kind, group: "conflict", title: `${pair[1]} and ${pair[2]}`,
      tags: [tag], order: 0 }];
  }
  const place = CHARTS.findIndex((chart) => chart.kind === kind && chart.tags.includes(tag));
  if (place >= 0) return [{ order: place, ...CHARTS[place] }];
  const name = kind === "ppo" ? tag : `${tag} (${kind.replace("_", " ")})`;
  return [{ id: `more-${kind}-${tag.replace(/\W/g, "-")}`, kind, group: "more", title: name, tags: [tag], order: 0 }];
};

const partsOf = (name, its, principles, part) => {
  const charts = [];
  const common = { kind: "ppo", group: "policy" };
  if (its === part) {
    charts.push({ ...common, id: `principle-${name}`, title: name, principle: name, order: 10 + principles.indexOf(name),
      tags: [`principle/${name}/${its}`] });
  }
  if (its === "weighted" && principles.length > 1) {
    charts.push({ ...common, id: "parts", title: "Parts of the reward, weighted", order: 2, stacked: true, wide: true,
      tags: principles.map((other) => `principle/${other}/weighted`) });
  }
  return charts;
};
