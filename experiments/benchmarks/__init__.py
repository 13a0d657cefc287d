"""What Cohortium costs, measured beside a floor in the same run: ``make bench``.

A machine that others use gives times that nobody can repeat; a ratio of two things measured in turns survives it. So
every comparison runs A B A B ..., and its result is a ratio, with the times as a hint. A floor does the same work with
nothing around it.
"""
