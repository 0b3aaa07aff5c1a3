"""Learn a camera's real degradation from HR-LR images, export it as one file, apply it to folders of HR images.

The API is the modules: `degsynth.fit`, `degsynth.apply`, `degsynth.checkpoint`, `degsynth.selftest`. Importing this
package alone imports nothing heavy.
"""

__version__ = "0.1.0"
