// Opens the pane in the site's theme, keeps it in that theme, and gives it the height that its content has.
(() => {
  const pane = document.getElementById("pane");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const theme = () => document.documentElement.dataset.theme || (dark.matches ? "dark" : "light");

  const address = new URL(pane.dataset.src, location.href);
  address.searchParams.set("__theme", theme());
  pane.src = address;

  document.addEventListener("concord:theme", () => {
    pane.contentDocument?.body?.classList.toggle("dark", theme() === "dark");
  });

  // As tall as its content, and never shorter than the window has room for.
  const fit = () => {
    const room = innerHeight - pane.getBoundingClientRect().top - scrollY - 24;
    const content = pane.contentDocument?.querySelector("gradio-app")?.scrollHeight ?? 0;
    pane.height = Math.round(Math.max(room, content, 480));
  };
  pane.addEventListener("load", () => {
    const app = pane.contentDocument?.querySelector("gradio-app");
    if (app) new ResizeObserver(fit).observe(app);
    fit();
  });
  addEventListener("resize", fit);
  fit();
})();
