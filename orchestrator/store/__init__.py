"""What the database holds: the truth between Kafka's way in and its way out.

Every function takes the open transaction first and the time as an argument. A change of state and the event that tells
of it are written in the one transaction, so either both happen or neither.
"""
