//! Named weights whose first values depend only on a seed and their names.
