/** One clock for the whole page: every running time on screen moves together, once a second. */

class Clock {
  /** Milliseconds since the epoch, whole seconds apart. */
  now = $state(Date.now());

  constructor() {
    setInterval(() => {
      if (!document.hidden) this.now = Date.now();
    }, 1000);
    document.addEventListener('visibilitychange', () => {
      this.now = Date.now();
    });
  }
}

export const clock = new Clock();
