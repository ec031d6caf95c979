"""Training, and runs on disk.

A `Job` is made ready (`job`, `resume`), trained on Lightning (`fit`) along a `Course`, and
measured. The rest are one noun each: a run's folder and what is written there (`run`, `config`,
`model`, `metrics`, `checkpoint`, `lock`), what the next step depends on (`state`, `steps`,
`generators`, `clipping`, `best`) and how it fails (`breakdown`), and the world outside (`cells`,
`processes`, `interrupt`, `screen`). Lightning is imported by `module`, `course` and `fit` alone.
"""
