"""What every room uses: messages, files, images, settings; imports nothing else but errors."""
