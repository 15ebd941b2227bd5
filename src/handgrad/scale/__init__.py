"""What training needs when one device, one process or the memory does not hold it all."""
