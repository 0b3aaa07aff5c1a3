"""Reading images, checking and opening pairs and folders of them, and cutting training patches."""
