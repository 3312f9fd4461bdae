"""What reorders passages by how well each answers a question: vendors over HTTP, and a model in a local folder."""
