// Loads the page anew every five seconds while it is looked at.
setInterval(() => { if (!document.hidden) location.reload(); }, 5_000);
