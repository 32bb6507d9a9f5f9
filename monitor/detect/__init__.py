"""From scores over time to detections: persistence and hysteresis, one `Detector` per stream."""
