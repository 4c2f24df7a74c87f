"""What a person looks at: pictures and tables made from arrays and figures."""
