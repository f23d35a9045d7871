"""What leaves for viewers: WHEP and HLS."""
