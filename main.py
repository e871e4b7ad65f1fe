"""Train, validate, test and predict: `python main.py fit --config configs/sam_polyp.yaml`."""

from graft.cli import main

if __name__ == "__main__":
    main()
