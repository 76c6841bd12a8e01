"""The rules of every proxy, besides those for the load's own names: a half are names, a half are all names below one."""

RULES = 1_000


def names(count, generation=0):
    return [name(number, generation) for number in range(0, count, 2)]


def parents(count, generation=0):
    return [name(number, generation) for number in range(1, count, 2)]


def name(number, generation):
    return f"n{number}.g{generation}.d{number % 997}.example.org"
