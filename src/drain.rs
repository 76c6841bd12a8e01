//! Tells every part of exeat that it is time to stop.
