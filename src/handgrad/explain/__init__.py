"""What autodiff and training do, drawn and written out."""
