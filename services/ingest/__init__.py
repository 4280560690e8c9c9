"""From files and arrays as people have them to datasets: reading, typing, inferring the task, refusing."""
