module pionfan
