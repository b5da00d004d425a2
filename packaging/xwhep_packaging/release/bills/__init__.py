"""What a release is made of: packages, files, licences, known vulnerabilities."""
