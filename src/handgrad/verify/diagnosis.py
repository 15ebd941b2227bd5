def diagnose(of, at, wrt, hand, truth):
    return None


def ratios(hand, truth):
    return "ratio"
