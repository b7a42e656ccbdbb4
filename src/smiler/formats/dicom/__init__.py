"""DICOM in and out: CT series, masks as series, DICOM-SEG and RTSTRUCT, read in a process with limits of its own.

Imported by what reads and writes (`client`) and, in the limited process, by `worker`; the rest is the worker's.
"""
