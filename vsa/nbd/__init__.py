"""The NBD protocol: numbers and structs, and what speaks it from this side. No word of image formats or of backup."""
