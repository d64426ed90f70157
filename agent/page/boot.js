// Shows the page before there is anything to show: what draws it is parsed when the browser has
// painted, or does not paint because nobody looks.
const app = document.getElementById('app');
function start() {
  if (!app.isConnected) return;
  app.remove();
  const script = document.createElement('script');
  script.type = 'module';
  script.textContent = app.textContent;
  document.head.append(script);
}
new PerformanceObserver(start).observe({ type: 'paint', buffered: true });
setTimeout(start, 300);
