"""What is read and computed for whoever asks: lists, counts, reasons, forecasts, diagnoses."""
