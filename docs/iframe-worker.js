/* Search in files without a server: there a browser starts no worker, so it runs in a hidden frame.
   As between real workers, what is sent is a copy and arrives later. */
if (location.protocol === "file:") {
  window.Worker = class {
    constructor(url) {
      const frame = document.createElement("iframe")
      frame.hidden = true
      frame.title = "search"
      document.body.append(frame)
      this.frame = frame
      const inner = frame.contentWindow
      inner.postMessage = data => this.deliver(data, event => this.onmessage && this.onmessage(event))
      this.loaded = new Promise(done => {
        const script = inner.document.createElement("script")
        script.src = new URL(url, location)
        script.onload = done
        inner.document.body.append(script)
      })
    }
    postMessage(data) {
      this.loaded.then(() => this.deliver(data, event => this.frame.contentWindow.onmessage(event)))
    }
    deliver(data, receive) {
      const copy = structuredClone(data)
      setTimeout(() => this.frame.isConnected && receive(new MessageEvent("message", { data: copy })))
    }
    terminate() {
      this.frame.remove()
    }
  }
}
