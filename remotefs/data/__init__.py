"""Where bytes live and how they travel: content, staging, downloads, writeback, refresh."""
