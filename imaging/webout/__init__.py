"""We as DICOMweb user agent towards a hospital's nodes (PS3.18): `client` stores and asks, `multipart` and `answer` are bytes alone."""
