"""A folder of retina images: crop to patches, judge, pair, enhance, record, resume, spread over a cluster."""
