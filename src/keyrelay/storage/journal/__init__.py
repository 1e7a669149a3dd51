"""The journal: append-only segments that keep every row until the store has it, a killed process or not.

One directory per writing process, `<data_dir>/journal/<writer>/`:

    00000001.seg …  records one after the other (`format`), each segment set aside on the disk before it is needed
    drained         up to where the rows are in the store
    lock            locked while the writer lives

Written with `write(2)`: what it has returned for survives the process. A memory map would cost half as much, but says
with a signal that ends the process what `write` says with an error: that the disk is full or broken.

Each segment begins with the reservations that were open when it was begun, so those before it are needed for their
rows alone, and go as soon as the store has these: a stream that runs for an hour holds no segment back.

The rows written last are in memory as well (`tail`), from where the recorder of the same process takes them. The files
are read by the next process, and by this one where it has fallen behind.
"""
