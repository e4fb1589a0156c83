/**
 * What moves on a page; it is read without it too. Tips over whatever says something of itself (aria-label of a mark, data-def of a
 * word), the scheme's button, folded parts opened for print.
 */
export const SCRIPT = `
(() => {
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.setAttribute("role", "tooltip");
  document.body.append(tip);
  const sayer = (target) => target instanceof Element ? target.closest("[data-def],svg [aria-label]:not(svg)") : null;
  const show = (element, x, y) => {
    const text = element.getAttribute("data-def") ?? element.getAttribute("aria-label");
    if (!text) return;
    tip.textContent = text;
    tip.classList.add("on");
    const { offsetWidth: width, offsetHeight: height } = tip;
    tip.style.left = Math.max(6, Math.min(innerWidth - width - 6, x + 12)) + "px";
    tip.style.top = (y + height + 24 > innerHeight ? y - height - 10 : y + 16) + "px";
  };
  const hide = () => tip.classList.remove("on");
  document.addEventListener("pointermove", (event) => {
    const element = sayer(event.target);
    if (element) show(element, event.clientX, event.clientY);
    else hide();
  });
  document.addEventListener("focusin", (event) => {
    const element = sayer(event.target);
    if (!element) return;
    const box = element.getBoundingClientRect();
    show(element, box.left, box.bottom);
  });
  document.addEventListener("focusout", hide);
  const root = document.documentElement;
  const button = document.querySelector("#scheme");
  button?.addEventListener("click", () => {
    const isDark = getComputedStyle(root).colorScheme === "dark" || (!root.dataset.scheme && matchMedia("(prefers-color-scheme: dark)").matches);
    root.dataset.scheme = isDark ? "light" : "dark";
  });
  const reveal = () => {
    const target = location.hash.length > 1 ? document.getElementById(decodeURIComponent(location.hash.slice(1))) : null;
    const folded = target?.closest("details");
    if (folded && !folded.open) {
      folded.open = true;
      target.scrollIntoView();
    }
  };
  addEventListener("hashchange", reveal);
  reveal();
  addEventListener("beforeprint", () => {
    for (const folded of document.querySelectorAll("details.print")) folded.open = true;
  });
})();
`;
