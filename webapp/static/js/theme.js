// Before the first paint: the theme remembered here, if the server does not know it by its cookie.
(() => {
  try {
    const theme = localStorage.getItem("concord-theme");
    if ((theme === "light" || theme === "dark") && !document.documentElement.dataset.theme) {
      document.documentElement.dataset.theme = theme;
    }
  } catch { /* storage is closed: the system's theme stays */ }
})();
