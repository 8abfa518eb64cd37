"""`asr-lab data check`: what is wrong with a data set, found by decoding all of it; torch-free."""
