"""swapyard: one address in front of many local inference servers."""
