// Stacked parts: what is above zero is piled upwards, what is below it downwards. Each part has a layer in both piles, so
// that where it changes sign each layer shrinks to nothing on its own side.

// `numbers` is [x, low, high, last, low, high, last, ...] as a chart's table has it; gives [x, from, to, from, to, ...],
// the upward layer of a part and then its downward one. A layer without thickness has no outline: nulls.
export const piles = (numbers, parts) => {
  const [x] = numbers;
  const up = new Array(x.length).fill(0);
  const down = new Array(x.length).fill(0);
  const data = [x];
  for (let part = 0; part < parts; part += 1) {
    const values = numbers[3 * part + 3];
    data.push(...layer(up, values.map((value) => Math.max(value ?? 0, 0))));
    data.push(...layer(down, values.map((value) => Math.min(value ?? 0, 0))));
  }
  return data;
};

const layer = (pile, sizes) => {
  const near = (i) => sizes[i] || sizes[i - 1] || sizes[i + 1];
  const from = pile.map((edge, i) => (near(i) ? edge : null));
  sizes.forEach((size, i) => { pile[i] += size; });
  return [from, pile.map((edge, i) => (near(i) ? edge : null))];
};

// uPlot's series and bands for what `piles` gives.
export const layers = (lines) => {
  const series = [{}];
  const bands = [];
  for (const { name, color } of lines) {
    const fill = `color-mix(in srgb, ${color} 55%, transparent)`;
    for (const way of ["up", "down"]) {
      // A band is filled from its first series down to its second: in the upward pile "from" is the lower one.
      const [from, to] = [series.length, series.length + 1];
      bands.push({ series: way === "up" ? [to, from] : [from, to], fill });
      series.push({ label: `${name} ${way} from`, points: { show: false } },
        { label: `${name} ${way}`, stroke: color, width: 1, points: { show: false } });
    }
  }
  return { series, bands };
};
