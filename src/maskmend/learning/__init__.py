"""Networks, losses and training.  torch, Lightning and MONAI live only here."""
