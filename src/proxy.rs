//! What every door does with a flow: decide, admit, dial, and relay to the end.
