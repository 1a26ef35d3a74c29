/* mm/bad.c */
