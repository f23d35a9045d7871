module pioningest
