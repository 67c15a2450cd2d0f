"""The call: one person talks with a system in the browser. The only place that imports gradio and fastapi."""
