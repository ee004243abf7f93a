"""A small honest model of Clerk and of Svix, written from what they do and without a look at the project's rules.

It tells what happened (`Clerk`), in what bodies (`shapes`), how the news travels (`svix`), and who calls meanwhile
(`history`). Time is a fake clock in milliseconds. Everything follows from a seed.
"""
