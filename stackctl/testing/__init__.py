"""An engine in memory, and the promises that every engine keeps."""
