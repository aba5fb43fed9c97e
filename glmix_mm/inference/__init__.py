"""Trained models at work: loading, testing, predicting on images and videos, drawing."""
