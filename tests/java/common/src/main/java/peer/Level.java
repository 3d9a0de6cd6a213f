package peer;
public enum Level { LOW, MID, HIGH }
