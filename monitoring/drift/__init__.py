"""The drift detector: features of pictures and answers, conformal bets on each, one sequential alarm."""
