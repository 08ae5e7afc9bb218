// Runs before the first paint: puts the stored theme on the root element, and turns path links such as
// /ui/models/qwen (the server redirects /upstream to one) into the fragment routes that the page understands.
(function () {
  try {
    var mode = JSON.parse(localStorage.getItem('swapyard.mode') || '"system"');
    if (mode === 'light' || mode === 'dark') document.documentElement.dataset.mode = mode;
    if (JSON.parse(localStorage.getItem('swapyard.sidebar') || '"open"') === 'closed')
      document.documentElement.dataset.sidebar = 'closed';
  } catch {
    // Storage may be refused or hold something else; the defaults are fine.
  }
  var rest = location.pathname.replace(/^\/ui\/?/, '');
  if (rest && rest !== 'index.html' && !location.hash)
    history.replaceState(null, '', '/ui/#/' + rest + location.search);
})();
