"""The pictures of the pages. A module draws one: `fading.py` makes `fading.svg`.

python -m figures          # in docs/: draws all anew
python -m figures fading   # or some
"""
