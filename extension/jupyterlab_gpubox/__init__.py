"""gpubox inside the box: what runs beside the user's own server."""
