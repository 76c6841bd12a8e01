//! One flow, from accept to its single record.
