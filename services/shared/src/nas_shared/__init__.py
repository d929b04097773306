"""What two services of the suite mean alike. Imports no TensorFlow."""
