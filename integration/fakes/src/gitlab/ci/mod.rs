//! `.gitlab-ci.yml`: what it says, and which jobs it makes for a ref. Pure; what it does not know is an error, not a guess.
