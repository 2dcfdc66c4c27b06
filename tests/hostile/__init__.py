"""What a folder of images may hold when someone means ill, or a disk has failed.

Each file is written down with what must become of it; nothing here reads them.
"""
